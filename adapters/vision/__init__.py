"""Images: reading, fundus preprocessing, priors, features, timm backbones, networks of them. Knows no family."""
