"""Has what is measured left what it was like: tests of nights and chips, images that stand out, and profiles."""
