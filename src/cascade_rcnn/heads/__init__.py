"""Box heads and their composition: cascade, iterative regression, integral loss."""
