"""Time, memory and agreement, measured as ratios in one run."""
