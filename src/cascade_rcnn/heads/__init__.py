"""Detection heads and the ways to compose them."""
