"""One room per organ or question, each built alike; none knows another."""
