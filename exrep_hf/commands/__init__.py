"""Commands: `exrep NAME …`, and the recipes of the same purpose, are calls of the `main` of a module here."""
