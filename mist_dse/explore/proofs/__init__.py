"""What no schedule can beat, design by design, and what a finished search therefore proves."""
