"""What users write and read: the three kinds, their vocabulary, and the CRDs generated from them."""
