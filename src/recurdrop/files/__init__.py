"""What files hold, whatever program wrote them."""
