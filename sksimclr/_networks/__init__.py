"""Encoders, pretrained weights, and networks made fast for inference."""
