"""What several methods are built of: attacks, importance and anchor, teachers, autoencoders."""
