"""Traffic to look at: a visitor for a real nginx, or lines as nginx would have written them."""
