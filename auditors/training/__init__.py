"""Training: the models that a study compares, from questions to conditions."""
