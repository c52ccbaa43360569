"""Scripts about the repository itself; the two packages know nothing of them."""
