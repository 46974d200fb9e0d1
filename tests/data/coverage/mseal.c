int helper(int);
static inline int is_odd(int n)
{
	return n & 1;
}

static int inner(int n)
{
	if (n > 100)
		return -1;
	return helper(n);
}

int outer(int a, int b)
{
	int err;

	if (a && b > 3)
		return -22;
	err = inner(a);
	if (err)
		return err;
	if (is_odd(b))
		a += helper(b);
	for (int i = 0; i < b; i++)
		a += helper(i);
	return a;
}
