"""From a time series to the equation behind it: smoothing, weak-form regression, selection, shooting, refit, forecast."""
