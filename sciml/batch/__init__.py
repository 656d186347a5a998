"""Many runs at once: planned before they start, executed by processes that may die, found again whatever happened."""
