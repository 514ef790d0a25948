"""One-shot: makes the pipeline's topics before anything speaks to them."""
