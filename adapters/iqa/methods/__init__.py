"""Methods that yield `predictions`: `predict(images, train, file, rng)` gives class probabilities for each image."""
