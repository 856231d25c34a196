"""aws-ipvlan: ipvlan links whose addresses EC2 knows."""
