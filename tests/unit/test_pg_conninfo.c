#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"
#include "io/file.h"
#include "pg/files.h"

static const struct {
    const char *name, *want;
} slot_rows[] = {
    {"Node-1.db", "node_1_db"},
    {"a@b", "au0064b"},
    {"\xc3\xa4", "u0228"},
    {"\xf0\x9f\x90\x98", "u128024"},
    {"\xff", "u0255"},
    {"a b", "au0032b"},
    {"1234567890123456789012345678901234567890123456789012345678901234",
     "123456789012345678901234567890123456789012345678901234567890123"},
    {"12345678901234567890123456789012345678901234567890123456789012@",
     "12345678901234567890123456789012345678901234567890123456789012u"},
};

static void test_slot_name_of_member_follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(slot_rows); i++) {
        char buf[64];

        slot_name_of_member(slot_rows[i].name, buf, sizeof(buf));
        assert_string_equal(buf, slot_rows[i].want);
    }
}

static struct config base_config(void)
{
    struct config c = {.name = (char *)"node1"};

    c.postgresql.database = (char *)"postgres";
    c.postgresql.pgpass = (char *)"/tmp/pgpass";
    c.postgresql.replication = (struct credentials){.username = (char *)"replicator", .password = (char *)"secret"};
    return c;
}

static void test_conninfo_has_the_keywords_in_the_order_the_reference_writes(void **state)
{
    struct config c = base_config();
    struct pg_upstream up = {.member = "node0", .host = "127.0.0.1", .port = 15430};
    char buf[1024];
    struct err err = {0};

    (void)state;
    assert_int_equal(pg_files_conninfo(&c, &up, buf, sizeof(buf), &err), 0);
    assert_string_equal(buf, "dbname=postgres user=replicator passfile=/tmp/pgpass host=127.0.0.1 port=15430 "
                             "sslmode=prefer application_name=node1 gssencmode=prefer channel_binding=prefer");

    c.postgresql.replication.password = NULL;
    c.postgresql.replication.sslmode = (char *)"verify-full";
    c.postgresql.replication.sslrootcert = (char *)"/etc/my ca's.pem";
    c.name = (char *)"back\\slash";
    up.host = "a,b";
    assert_int_equal(pg_files_conninfo(&c, &up, buf, sizeof(buf), &err), 0);
    assert_string_equal(buf, "dbname=postgres user=replicator host=a,b port=15430 sslmode=verify-full "
                             "sslrootcert=/etc/my\\ ca\\'s.pem application_name=back\\\\slash gssencmode=prefer "
                             "channel_binding=prefer target_session_attrs=read-write");
    assert_int_equal(pg_files_conninfo(&c, &up, buf, 20, &err), -ENAMETOOLONG);
}

static void test_passfile_has_a_line_per_host_and_user_and_is_private(void **state)
{
    struct config c = base_config();
    struct pg_upstream up = {.host = "10.0.0.1,::1,/run/pg", .port = 5433};
    char path[] = "/tmp/test_passfile_XXXXXX";
    CLEANUP(freep) char *text = NULL;
    struct err err = {0};
    struct stat st;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(chmod(path, 0644), 0);
    c.postgresql.pgpass = path;
    c.postgresql.superuser.password = (char *)"a:b\\c";
    assert_int_equal(pg_files_passfile(&c, &up, &err), 0);
    assert_int_equal(file_read(path, 65536, &text, NULL, &err), 0);
    assert_string_equal(text, "10.0.0.1:5433:*:replicator:secret\n"
                              "\\:\\:1:5433:*:replicator:secret\n"
                              "/run/pg:5433:*:replicator:secret\n"
                              "localhost:5433:*:replicator:secret\n"
                              "10.0.0.1:5433:*:*:a\\:b\\\\c\n"
                              "\\:\\:1:5433:*:*:a\\:b\\\\c\n"
                              "/run/pg:5433:*:*:a\\:b\\\\c\n"
                              "localhost:5433:*:*:a\\:b\\\\c\n");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    /* Same text, but somebody opened it up: libpq would ignore it. */
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(pg_files_passfile(&c, &up, &err), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    c.postgresql.superuser.password = (char *)"a\nb";
    assert_int_equal(pg_files_passfile(&c, &up, &err), -EINVAL);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slot_name_of_member_follows_the_table),
        cmocka_unit_test(test_conninfo_has_the_keywords_in_the_order_the_reference_writes),
        cmocka_unit_test(test_passfile_has_a_line_per_host_and_user_and_is_private),
    };

    return cmocka_run_group_tests_name("pg_conninfo", tests, NULL, NULL);
}
