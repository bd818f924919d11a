"""What estimators share: fit, validation, tags, callbacks, what is stored."""
