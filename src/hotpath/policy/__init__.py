"""Integer policies: artifact, oracle, quantisation and action map."""
