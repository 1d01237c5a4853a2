"""From clips to detections, events and layers."""
