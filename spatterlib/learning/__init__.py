"""From labelled crops to a model: data, training, evaluation, runs, export."""
