"""Devices, processes, signals, memory, randomness, downloads, whole files."""
