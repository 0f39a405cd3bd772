/* The host of src/lib.rs: a C program, with all signals at their defaults. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int32_t landline_echo_start(uint16_t port);
uint32_t landline_echo_stop(void);

int main(int argc, char **argv) {
    int32_t port = landline_echo_start(argc > 1 ? (uint16_t)atoi(argv[1]) : 3000);
    if (port < 0) {
        fprintf(stderr, "the server does not start\n");
        return 1;
    }
    printf("listening on 127.0.0.1:%d\nthen: nc 127.0.0.1 %d, and Enter here\n", port, port);
    fflush(stdout);
    int c;
    while ((c = getchar()) != '\n' && c != EOF) {
    }
    printf("stopped, still running: %u\n", landline_echo_stop());
    return 0;
}
