/* listed-flags-dontdump/anon-r/exact */
#include <stdlib.h>

/* What smaps says of the mapping at an address, without its seal and soft-dirty pages. */
static void flags_of(const char *address, char text[256])
{
	char line[512];
	int inside = 0;
	FILE *smaps = fopen("/proc/self/smaps", "r");

	text[0] = 0;
	need(smaps ? 0 : -1, "open of /proc/self/smaps");
	while (fgets(line, sizeof(line), smaps)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = (unsigned long)address >= start && (unsigned long)address < end;
		if (!inside || strncmp(line, "VmFlags:", 8) != 0)
			continue;
		for (char *flag = strtok(line + 8, " \n"); flag; flag = strtok(NULL, " \n"))
			if (strcmp(flag, "sl") != 0 && strcmp(flag, "sd") != 0)
				strcat(strcat(text, flag), " ");
	}
	fclose(smaps);
}

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ);
	char before[256], after[256];

	need(madvise(window, 3 * page, MADV_DONTDUMP), "MADV_DONTDUMP");
	flags_of(window, before);
	seal(window, 3 * page);
	flags_of(window, after);
	printf("flags before: %s\nflags after:  %s\n", before, after);
	demand(before[0] && strcmp(before, after) == 0, "sealing changes no other flag of the mapping");

	stays_sealed(window, page);
	return broken;
}
