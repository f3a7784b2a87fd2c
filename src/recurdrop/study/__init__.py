"""Studies: many runs, paired by seed."""
