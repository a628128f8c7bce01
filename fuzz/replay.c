/* SPDX-License-Identifier: MIT */
/* Runs a target over the files named, or all in the folders named: corpora as a test, with any compiler. */
#include "fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data;
    struct stat info;
    size_t size;

    if (file == NULL) {
        return -1;
    }
    if (fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode)) {
        fclose(file);
        return S_ISDIR(info.st_mode) ? 0 : -1;
    }
    data = malloc((size_t)info.st_size + 1);
    FUZZ_CLAIM(data != NULL);
    size = fread(data, 1, (size_t)info.st_size, file);
    fclose(file);
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 1;
}

static int run_folder(DIR *folder, const char *name)
{
    struct dirent *entry;
    int count = 0;

    while ((entry = readdir(folder)) != NULL) {
        char path[1024];

        if (entry->d_name[0] != '.') {
            int r;

            snprintf(path, sizeof(path), "%s/%s", name, entry->d_name);
            r = run_file(path);
            if (r < 0) {
                return r;
            }
            count += r;
        }
    }
    return count;
}

int main(int argc, char **argv)
{
    int count = 0;

    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        int r = folder != NULL ? run_folder(folder, argv[i]) : run_file(argv[i]);

        if (folder != NULL) {
            closedir(folder);
        }
        if (r < 0) {
            fprintf(stderr, "%s: cannot be read\n", argv[i]);
            return 1;
        }
        count += r;
    }
    printf("%d inputs\n", count);
    return count > 0 ? 0 : 1;
}
