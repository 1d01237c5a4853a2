"""From rows with probabilities to a verdict: per span, as an object, as files, checked again later."""
