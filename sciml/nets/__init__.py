"""Networks that answer: Equinox and Flax perceptrons, features, hard conditions."""
