"""What jobs execute; imports method and common, never report."""
