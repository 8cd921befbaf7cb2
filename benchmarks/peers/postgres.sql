CREATE EXTENSION IF NOT EXISTS btree_gist;

CREATE TABLE holds (
    uid uuid PRIMARY KEY,
    resource integer NOT NULL,
    slot int8range NOT NULL,
    until bigint NOT NULL,
    EXCLUDE USING gist (resource WITH =, slot WITH &&)
);

CREATE FUNCTION reserve(
    new_uid uuid, wanted integer, span int8range, new_until bigint, moment bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO holds VALUES (new_uid, wanted, span, new_until) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN true;
    END IF;
    DELETE FROM holds WHERE resource = wanted AND slot && span AND until <= moment;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO holds VALUES (new_uid, wanted, span, new_until) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END
$$;
