"""The classifiers `lenet5` and `lenet5-classic`."""
