"""Small models, one file each."""
