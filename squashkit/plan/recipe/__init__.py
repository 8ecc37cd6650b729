"""Recipes: what a job made of which bytes, so that others can make it again, or see that it is right."""
