# Is it a prime number? In a terminal, in the folder of this file, type `python3 prime_script.py`
# (on Windows, `py prime_script.py`), then a number.

number = int(input("Enter a whole number: "))

if number < 2:
    print(number, "is not a prime number")
else:
    factor = 2
    while number % factor != 0:
        factor = factor + 1
    if factor == number:
        print(number, "is a prime number")
    else:
        print(number, "=", factor, "*", number // factor, "so it is not a prime number")
