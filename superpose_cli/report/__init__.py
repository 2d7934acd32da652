"""Results, figures, their words and the claims of some runs as one HTML page."""
