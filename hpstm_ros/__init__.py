"""A human body in, a smooth body with an honest covariance and a supervised robot arm out."""
