"""Loops: training by views or by labels, and embedding; torch, not scikit-learn."""
