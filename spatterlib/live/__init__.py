"""Watching a machine while it builds: frames come from a stream, verdicts go to people and programs.

From the ground up: `alarms`, `clock`, `latency`, `repeats`, `rolling`, `looks`, `camera_health`, `messages` are pure;
`source`, `feed`, `recorder`, `control_charts` (layers against a reference), `outbox`, `senders`, `prometheus`,
`lookback` (the last minute) and `view` (the page) have threads or talk to the world; `watch` joins them.
"""
