--
-- PostgreSQL database dump
--


-- Dumped from database version 18.6
-- Dumped by pg_dump version 18.6

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: pgcorpus; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA pgcorpus;


--
-- Name: vector; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;


--
-- Name: EXTENSION vector; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON EXTENSION vector IS 'vector data type and ivfflat and hnsw access methods (created by pgcorpus)';


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: alembic_version; Type: TABLE; Schema: pgcorpus; Owner: -
--

CREATE TABLE pgcorpus.alembic_version (
    version_num character varying(32) NOT NULL
);


--
-- Name: calibrations; Type: TABLE; Schema: pgcorpus; Owner: -
--

CREATE TABLE pgcorpus.calibrations (
    collection_id bigint NOT NULL,
    id bigint NOT NULL,
    index_definition text NOT NULL,
    documents bigint NOT NULL,
    k integer NOT NULL,
    measured_at timestamp with time zone DEFAULT now() NOT NULL,
    points jsonb NOT NULL
);


--
-- Name: calibrations_id_seq; Type: SEQUENCE; Schema: pgcorpus; Owner: -
--

CREATE SEQUENCE pgcorpus.calibrations_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: calibrations_id_seq; Type: SEQUENCE OWNED BY; Schema: pgcorpus; Owner: -
--

ALTER SEQUENCE pgcorpus.calibrations_id_seq OWNED BY pgcorpus.calibrations.id;


--
-- Name: collections; Type: TABLE; Schema: pgcorpus; Owner: -
--

CREATE TABLE pgcorpus.collections (
    id bigint NOT NULL,
    tenant_id text DEFAULT 'default'::text NOT NULL,
    name text NOT NULL,
    embedding_model text,
    distance text DEFAULT 'cosine'::text NOT NULL,
    language text DEFAULT 'english'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    shadow_of bigint,
    retired_at timestamp with time zone,
    retired_at_id bigint,
    CONSTRAINT ck_collections_distance CHECK ((distance = ANY (ARRAY['cosine'::text, 'l2'::text, 'inner_product'::text, 'l1'::text])))
);


--
-- Name: collections_id_seq; Type: SEQUENCE; Schema: pgcorpus; Owner: -
--

CREATE SEQUENCE pgcorpus.collections_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: collections_id_seq; Type: SEQUENCE OWNED BY; Schema: pgcorpus; Owner: -
--

ALTER SEQUENCE pgcorpus.collections_id_seq OWNED BY pgcorpus.collections.id;


--
-- Name: documents; Type: TABLE; Schema: pgcorpus; Owner: -
--

CREATE TABLE pgcorpus.documents (
    collection_id bigint NOT NULL,
    id bigint NOT NULL,
    key text DEFAULT (gen_random_uuid())::text NOT NULL,
    content text NOT NULL,
    content_hash bytea,
    source text,
    "position" integer,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    embedding public.vector(1536),
    language text DEFAULT 'english'::text NOT NULL,
    tsv tsvector GENERATED ALWAYS AS (to_tsvector(
CASE language
    WHEN 'arabic'::text THEN 'arabic'::regconfig
    WHEN 'armenian'::text THEN 'armenian'::regconfig
    WHEN 'basque'::text THEN 'basque'::regconfig
    WHEN 'catalan'::text THEN 'catalan'::regconfig
    WHEN 'danish'::text THEN 'danish'::regconfig
    WHEN 'dutch'::text THEN 'dutch'::regconfig
    WHEN 'english'::text THEN 'english'::regconfig
    WHEN 'finnish'::text THEN 'finnish'::regconfig
    WHEN 'french'::text THEN 'french'::regconfig
    WHEN 'german'::text THEN 'german'::regconfig
    WHEN 'greek'::text THEN 'greek'::regconfig
    WHEN 'hindi'::text THEN 'hindi'::regconfig
    WHEN 'hungarian'::text THEN 'hungarian'::regconfig
    WHEN 'indonesian'::text THEN 'indonesian'::regconfig
    WHEN 'irish'::text THEN 'irish'::regconfig
    WHEN 'italian'::text THEN 'italian'::regconfig
    WHEN 'lithuanian'::text THEN 'lithuanian'::regconfig
    WHEN 'nepali'::text THEN 'nepali'::regconfig
    WHEN 'norwegian'::text THEN 'norwegian'::regconfig
    WHEN 'portuguese'::text THEN 'portuguese'::regconfig
    WHEN 'romanian'::text THEN 'romanian'::regconfig
    WHEN 'russian'::text THEN 'russian'::regconfig
    WHEN 'serbian'::text THEN 'serbian'::regconfig
    WHEN 'spanish'::text THEN 'spanish'::regconfig
    WHEN 'swedish'::text THEN 'swedish'::regconfig
    WHEN 'tamil'::text THEN 'tamil'::regconfig
    WHEN 'turkish'::text THEN 'turkish'::regconfig
    WHEN 'yiddish'::text THEN 'yiddish'::regconfig
    ELSE 'simple'::regconfig
END, "left"(content, 200000))) STORED,
    version integer DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
)
WITH (toast_tuple_target='8160');
ALTER TABLE ONLY pgcorpus.documents ALTER COLUMN embedding SET STORAGE MAIN;


--
-- Name: documents_id_seq; Type: SEQUENCE; Schema: pgcorpus; Owner: -
--

CREATE SEQUENCE pgcorpus.documents_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: documents_id_seq; Type: SEQUENCE OWNED BY; Schema: pgcorpus; Owner: -
--

ALTER SEQUENCE pgcorpus.documents_id_seq OWNED BY pgcorpus.documents.id;


--
-- Name: embedding_cache; Type: TABLE; Schema: pgcorpus; Owner: -
--

CREATE TABLE pgcorpus.embedding_cache (
    model text NOT NULL,
    content_hash bytea NOT NULL,
    embedding bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: calibrations id; Type: DEFAULT; Schema: pgcorpus; Owner: -
--

ALTER TABLE ONLY pgcorpus.calibrations ALTER COLUMN id SET DEFAULT nextval('pgcorpus.calibrations_id_seq'::regclass);


--
-- Name: collections id; Type: DEFAULT; Schema: pgcorpus; Owner: -
--

ALTER TABLE ONLY pgcorpus.collections ALTER COLUMN id SET DEFAULT nextval('pgcorpus.collections_id_seq'::regclass);


--
-- Name: documents id; Type: DEFAULT; Schema: pgcorpus; Owner: -
--

ALTER TABLE ONLY pgcorpus.documents ALTER COLUMN id SET DEFAULT nextval('pgcorpus.documents_id_seq'::regclass);


--
-- Data for Name: alembic_version; Type: TABLE DATA; Schema: pgcorpus; Owner: -
--

COPY pgcorpus.alembic_version (version_num) FROM stdin;
pgcorpus_0006
\.


--
-- Data for Name: calibrations; Type: TABLE DATA; Schema: pgcorpus; Owner: -
--

COPY pgcorpus.calibrations (collection_id, id, index_definition, documents, k, measured_at, points) FROM stdin;
1	1	CREATE INDEX ix_documents_embedding ON pgcorpus.documents USING hnsw (embedding vector_cosine_ops) WITH (m='16', ef_construction='64')	16	10	2026-01-02 03:04:05+00	[{"p50_ms": 1.5, "p95_ms": 3.25, "recall": 0.85, "scanned": 420.5, "ef_search": 40}]
\.


--
-- Data for Name: collections; Type: TABLE DATA; Schema: pgcorpus; Owner: -
--

COPY pgcorpus.collections (id, tenant_id, name, embedding_model, distance, language, created_at, shadow_of, retired_at, retired_at_id) FROM stdin;
1	default	library	text-embedding-3-small	cosine	english	2026-01-02 03:04:05+00	\N	\N	\N
2	Überland	Bücherei 📚	\N	l2	german	2026-01-02 03:04:05+00	\N	\N	\N
3	default	library@tiny-2	\N	cosine	english	2026-01-02 03:04:05+00	1	2026-01-02 03:04:05+00	24
\.


--
-- Data for Name: documents; Type: TABLE DATA; Schema: pgcorpus; Owner: -
--

COPY pgcorpus.documents (collection_id, id, key, content, content_hash, source, "position", metadata, embedding, language, version, created_at, updated_at) FROM stdin;
1	1	schlüssel-0	The ferries leave the harbour at dawn. (0)	\\x0e93400ce6b9cc4ef33317ee2290f6b830897bd556d446c034f04b37b46ea9db	\N	\N	{}	[1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]	english	1	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
1	7	schlüssel-6	Το πλοίο φεύγει από το λιμάνι την αυγή. (6)	\\x28476d81120b912868d93ced22280c2c58a7dced7e38c5fba922059aa8cf91e5	docs/1.md	6144	{}	\N	greek	1	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
1	8	schlüssel-7	日本語 🚢 a\\b\t'quoted'\nsecond line (7)	\\x78a05831667bad27f73b52a73321752df765613e5d43452023e6008349270505	docs/1.md	7168	{"deep": {"empty": null}, "tags": ["ä", "\\""], "number": 7}	\N	klingon	2	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
1	9	schlüssel-8	The ferries leave the harbour at dawn. (8)	\\x3679e26349024d35f74bb0e9389a07f7d20b252459ff5daeb9ef983a1f99d275	docs/2.md	8192	{"deep": {"empty": null}, "tags": ["ä", "\\""], "number": 8}	\N	english	1	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
1	10	schlüssel-9	Die Fähren verlassen den Hafen im Morgengrauen. (9)	\\x73c75a00aa9fa36d848a78af178beb46d042626d231a605a3378b28e4dd35278	docs/2.md	9216	{}	\N	german	2	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
1	11	schlüssel-10	Το πλοίο φεύγει από το λιμάνι την αυγή. (10)	\\x995b428e78b0a4c7e5f9cb695ffe6787da5c1a3b1f6b32c1f2e5411ebefc1a8f	\N	\N	{"deep": {"empty": null}, "tags": ["ä", "\\""], "number": 10}	\N	greek	1	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
1	2	schlüssel-1	Die Fähren verlassen den Hafen im Morgengrauen. (1)	\\x05ec4a58a1e55355b134f558fba92229254707be06e1a1e3514cdd2442526a42	docs/0.md	1024	{"deep": {"empty": null}, "tags": ["ä", "\\""], "number": 1}	[0,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]	german	2	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
1	3	schlüssel-2	Το πλοίο φεύγει από το λιμάνι την αυγή. (2)	\\x677e3a008979b4c67d64f37d338918e3c642259cc5f5d8601518e0ce573e675e	docs/0.md	2048	{"deep": {"empty": null}, "tags": ["ä", "\\""], "number": 2}	\N	greek	1	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
1	4	schlüssel-3	日本語 🚢 a\\b\t'quoted'\nsecond line (3)	\\x5130aeb70b4332bbd07731dc48b14124ef7c2dd7a47bead4f387fb805f1eafc2	docs/0.md	3072	{}	\N	klingon	2	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
1	5	schlüssel-4	The ferries leave the harbour at dawn. (4)	\\x0a6e45f38a091baaa6433b62921ddf1861ee9601ab2fad7783c1b499c38a5d75	docs/1.md	4096	{"deep": {"empty": null}, "tags": ["ä", "\\""], "number": 4}	\N	english	1	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
1	6	schlüssel-5	Die Fähren verlassen den Hafen im Morgengrauen. (5)	\\x43130f463d9e19bfdf527ebc4513cfdb18ffa617d16eaf09bbc3b6d50a3f7db8	\N	\N	{"deep": {"empty": null}, "tags": ["ä", "\\""], "number": 5}	\N	german	2	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
1	12	schlüssel-11	日本語 🚢 a\\b\t'quoted'\nsecond line (11)	\\xe64337e857ceae1bdb1497d366e5821729e3048c7f52161e2077972a60b6b950	docs/2.md	11264	{"deep": {"empty": null}, "tags": ["ä", "\\""], "number": 11}	\N	klingon	2	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
1	13	schlüssel-12	The ferries leave the harbour at dawn. (12)	\\x9e513cc275e266d48144f92c2a8b0fcaa94e015515360e4c0a3e733bdf78813b	docs/3.md	12288	{}	\N	english	1	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
1	14	schlüssel-13	Die Fähren verlassen den Hafen im Morgengrauen. (13)	\\xf7eddf9d0af0d7b8c29806a5551bd831bfb122ccbd4a9c8dce28dc7b153f9f9a	docs/3.md	13312	{"deep": {"empty": null}, "tags": ["ä", "\\""], "number": 13}	\N	german	2	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
1	15	schlüssel-14	Το πλοίο φεύγει από το λιμάνι την αυγή. (14)	\\xde4271c894a50b272ed143720a016f73fcf199fc946e0ea1e60cab8777f0f85d	docs/3.md	14336	{"deep": {"empty": null}, "tags": ["ä", "\\""], "number": 14}	\N	greek	1	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
1	16	schlüssel-15	日本語 🚢 a\\b\t'quoted'\nsecond line (15)	\\x188ab8f208ec917bea2123144c75a11e8b8c23caa282d8945524c4816ef1bbdc	\N	\N	{}	\N	klingon	2	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
2	17	schlüssel-16	The ferries leave the harbour at dawn. (16)	\\x8c89f7617957274b46373b9bf7d408f6ad02d80b042c84717ba9f67b5382ff9d	docs/4.md	16384	{"deep": {"empty": null}, "tags": ["ä", "\\""], "number": 16}	\N	english	1	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
2	18	schlüssel-17	Die Fähren verlassen den Hafen im Morgengrauen. (17)	\\x42d42188c076db817279ea7784513a38e0687c486f3c52554386eefbab1dd9f0	docs/4.md	17408	{"deep": {"empty": null}, "tags": ["ä", "\\""], "number": 17}	\N	german	2	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
2	19	schlüssel-18	Το πλοίο φεύγει από το λιμάνι την αυγή. (18)	\\x70fcc1d286f16667de7e14ec2962f53aac6cc3f0495befa6c7b5b96ba7a7a7b8	docs/4.md	18432	{}	\N	greek	1	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
2	20	schlüssel-19	日本語 🚢 a\\b\t'quoted'\nsecond line (19)	\\x10e7b70cb12d57e44132899784f1b373ba8d32fd87b89ca5f717ca1c14801be6	docs/4.md	19456	{"deep": {"empty": null}, "tags": ["ä", "\\""], "number": 19}	\N	klingon	2	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
2	21	schlüssel-20	The ferries leave the harbour at dawn. (20)	\\x2176715231bc31ccf4acb493b0da69d0de67820656a3d9a5412a38f40e2b8541	\N	\N	{"deep": {"empty": null}, "tags": ["ä", "\\""], "number": 20}	[0,0,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]	english	1	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
2	22	schlüssel-21	Die Fähren verlassen den Hafen im Morgengrauen. (21)	\\x22dc9c2f04d289fdd3123afcca41e15e0d9d6643383b81f2698c08e0af4f5698	docs/5.md	21504	{}	\N	german	2	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
2	23	schlüssel-22	Το πλοίο φεύγει από το λιμάνι την αυγή. (22)	\\xcfd5e642b294d4311a17d7dd9c225b8a256505fbe1b49b9226e087e162c7fa69	docs/5.md	22528	{"deep": {"empty": null}, "tags": ["ä", "\\""], "number": 22}	\N	greek	1	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
2	24	schlüssel-23	日本語 🚢 a\\b\t'quoted'\nsecond line (23)	\\xcfa95406b7d1218c5cf69faeb959012decfd46fbd2d46e461430333f1ea91db9	docs/5.md	23552	{"deep": {"empty": null}, "tags": ["ä", "\\""], "number": 23}	\N	klingon	2	2026-01-02 03:04:05+00	2026-01-02 03:04:05+00
\.


--
-- Data for Name: embedding_cache; Type: TABLE DATA; Schema: pgcorpus; Owner: -
--

COPY pgcorpus.embedding_cache (model, content_hash, embedding, created_at) FROM stdin;
tiny-2	\\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f	\\x0000803f00000000	2026-01-02 03:04:05+00
\.


--
-- Name: calibrations_id_seq; Type: SEQUENCE SET; Schema: pgcorpus; Owner: -
--

SELECT pg_catalog.setval('pgcorpus.calibrations_id_seq', 1, true);


--
-- Name: collections_id_seq; Type: SEQUENCE SET; Schema: pgcorpus; Owner: -
--

SELECT pg_catalog.setval('pgcorpus.collections_id_seq', 3, true);


--
-- Name: documents_id_seq; Type: SEQUENCE SET; Schema: pgcorpus; Owner: -
--

SELECT pg_catalog.setval('pgcorpus.documents_id_seq', 24, true);


--
-- Name: alembic_version alembic_version_pkc; Type: CONSTRAINT; Schema: pgcorpus; Owner: -
--

ALTER TABLE ONLY pgcorpus.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);


--
-- Name: calibrations pk_calibrations; Type: CONSTRAINT; Schema: pgcorpus; Owner: -
--

ALTER TABLE ONLY pgcorpus.calibrations
    ADD CONSTRAINT pk_calibrations PRIMARY KEY (collection_id, id);


--
-- Name: collections pk_collections; Type: CONSTRAINT; Schema: pgcorpus; Owner: -
--

ALTER TABLE ONLY pgcorpus.collections
    ADD CONSTRAINT pk_collections PRIMARY KEY (id);


--
-- Name: documents pk_documents; Type: CONSTRAINT; Schema: pgcorpus; Owner: -
--

ALTER TABLE ONLY pgcorpus.documents
    ADD CONSTRAINT pk_documents PRIMARY KEY (collection_id, id);


--
-- Name: embedding_cache pk_embedding_cache; Type: CONSTRAINT; Schema: pgcorpus; Owner: -
--

ALTER TABLE ONLY pgcorpus.embedding_cache
    ADD CONSTRAINT pk_embedding_cache PRIMARY KEY (model, content_hash);


--
-- Name: collections uq_collections_tenant_id_name; Type: CONSTRAINT; Schema: pgcorpus; Owner: -
--

ALTER TABLE ONLY pgcorpus.collections
    ADD CONSTRAINT uq_collections_tenant_id_name UNIQUE (tenant_id, name);


--
-- Name: documents uq_documents_collection_id_key; Type: CONSTRAINT; Schema: pgcorpus; Owner: -
--

ALTER TABLE ONLY pgcorpus.documents
    ADD CONSTRAINT uq_documents_collection_id_key UNIQUE (collection_id, key);


--
-- Name: ix_documents_collection_id_source; Type: INDEX; Schema: pgcorpus; Owner: -
--

CREATE INDEX ix_documents_collection_id_source ON pgcorpus.documents USING btree (collection_id, source);


--
-- Name: ix_documents_embedding; Type: INDEX; Schema: pgcorpus; Owner: -
--

CREATE INDEX ix_documents_embedding ON pgcorpus.documents USING hnsw (embedding public.vector_cosine_ops) WITH (m='16', ef_construction='64');


--
-- Name: ix_documents_metadata; Type: INDEX; Schema: pgcorpus; Owner: -
--

CREATE INDEX ix_documents_metadata ON pgcorpus.documents USING gin (metadata jsonb_path_ops);


--
-- Name: ix_documents_tsv; Type: INDEX; Schema: pgcorpus; Owner: -
--

CREATE INDEX ix_documents_tsv ON pgcorpus.documents USING gin (tsv);


--
-- Name: calibrations fk_calibrations_collection_id_collections; Type: FK CONSTRAINT; Schema: pgcorpus; Owner: -
--

ALTER TABLE ONLY pgcorpus.calibrations
    ADD CONSTRAINT fk_calibrations_collection_id_collections FOREIGN KEY (collection_id) REFERENCES pgcorpus.collections(id) ON DELETE CASCADE;


--
-- Name: collections fk_collections_shadow_of_collections; Type: FK CONSTRAINT; Schema: pgcorpus; Owner: -
--

ALTER TABLE ONLY pgcorpus.collections
    ADD CONSTRAINT fk_collections_shadow_of_collections FOREIGN KEY (shadow_of) REFERENCES pgcorpus.collections(id) ON DELETE CASCADE;


--
-- Name: documents fk_documents_collection_id_collections; Type: FK CONSTRAINT; Schema: pgcorpus; Owner: -
--

ALTER TABLE ONLY pgcorpus.documents
    ADD CONSTRAINT fk_documents_collection_id_collections FOREIGN KEY (collection_id) REFERENCES pgcorpus.collections(id) ON DELETE CASCADE;


--
-- PostgreSQL database dump complete
--


