"""clusters -> similarities: blocks of vectors, where rows are compared, and the tiles that compare them."""
