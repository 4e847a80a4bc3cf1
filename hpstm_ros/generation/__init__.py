"""Generated motion: representation, sampling and corrections, without torch and without ROS."""
