"""How a loss is minimised: one file per phase, each a pure state that is advanced in jitted chunks."""
