"""What counts as images, and batches of them."""
