"""Every file format, behind one registry of readers."""
