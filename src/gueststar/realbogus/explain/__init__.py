"""Why a candidate has its score: which pixels, planes and measured numbers speak for it, and which against."""
