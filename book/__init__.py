"""What makes the book: its pages, and the experiments behind their numbers."""
