"""A network that was trained beforehand turns the gradients of a request into the change that carries it out."""
