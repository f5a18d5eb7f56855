import { testServices } from './services.cases.ts';

testServices(['ipv4']);
