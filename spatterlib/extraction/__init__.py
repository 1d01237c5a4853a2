"""From a recording to a store: one, many, a forecast, pictures."""
