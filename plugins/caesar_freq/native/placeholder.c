int caesar_placeholder;
