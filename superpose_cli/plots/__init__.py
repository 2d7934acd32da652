"""Figures and their words, from stored runs alone. Importing this loads nothing: `registry` has the plots."""
